-- What the scripts of a room share. KEYS, in the order of engine::keys: 1 log, 2 meta, 3 nodes,
-- 4 people, 5 last, 6 names, 7 absent, 8 keys, 9 keyage, 10 epochs, 11 on:NODE, 12 gone, 13 rooms:NODE.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function digits(number) return string.format('%.0f', number) end

-- Somebody whom the room remembers: when it went (0: it is here), its node and connection, tag, name, what
-- the name is compared by, the epoch and position at which it came, and when it asked to.
local function person(mac)
  local record = call('HGET', KEYS[4], mac)
  if not record then return nil end
  local gone, node, conn, tag, name, fold, came, asked =
    record:match('^(%d+)\n(%S+)\n(%d+)\n(%S+)\n([^\n]*)\n([^\n]*)\n(%S+)\n(%d+)$')
  return {
    gone = tonumber(gone), node = node, conn = conn, tag = tag, name = name, fold = fold, came = came,
    asked = tonumber(asked),
  }
end

local function remember(mac, who)
  call('HSET', KEYS[4], mac, table.concat(
    { digits(who.gone), who.node, who.conn, who.tag, who.name, who.fold, who.came or '0-0',
      digits(who.asked or 0) }, '\n'))
end

local function forget(mac)
  local who = person(mac)
  if who and who.gone > 0 then
    for _, fold in ipairs({ who.fold, who.tag }) do
      if call('HGET', KEYS[6], fold) == mac then call('HDEL', KEYS[6], fold) end
    end
    call('HDEL', KEYS[4], mac)
    call('HDEL', KEYS[5], mac)
  end
  call('ZREM', KEYS[7], mac)
end

-- A name is free if it is nobody else's who is here or went less than ten minutes ago.
local function is_free(fold, mac)
  local owner = call('HGET', KEYS[6], fold)
  if not owner or owner == mac then return true end
  local who = person(owner)
  return not who or who.gone > 0 and now - who.gone >= 600000
end

-- Gives the name that is wished, or the next to it that is free, or the tag. The wish is
-- engine::command::Wish: name, fold, base of one digit, its fold, base of two digits, its fold.
local function give(mac, who, wish)
  local parts = {}
  for part in (wish .. '\n'):gmatch('([^\n]*)\n') do parts[#parts + 1] = part end
  local name, fold = who.tag, who.tag
  if parts[1] == who.name and who.name ~= '' then
    return
  elseif #parts == 6 then
    if is_free(parts[2], mac) then
      name, fold = parts[1], parts[2]
    else
      for n = 2, 99 do
        local at = n < 10 and 3 or 5
        if is_free(parts[at + 1] .. n, mac) then
          name, fold = parts[at] .. n, parts[at + 1] .. n
          break
        end
      end
    end
  elseif wish == '' and who.name ~= '' then
    return
  end
  if who.fold ~= who.tag and call('HGET', KEYS[6], who.fold) == mac then
    call('HDEL', KEYS[6], who.fold)
  end
  call('HSET', KEYS[6], fold, mac)
  who.name, who.fold = name, fold
end

-- Somebody goes. Who cannot come again is forgotten at once, and of the others the last 256 are remembered.
local function go(mac, who)
  who.gone, who.node, who.conn = now, '-', '0'
  remember(mac, who)
  if who.tag:sub(1, 1) == '~' and who.name == who.tag then return forget(mac) end
  call('ZADD', KEYS[7], digits(now), mac)
  while call('ZCARD', KEYS[7]) > 256 do
    forget(call('ZRANGE', KEYS[7], 0, 0)[1])
  end
end

-- Where the log is, and how it goes on.
local was = call('HMGET', KEYS[2], 'server', 'epoch', 'pos', 'seq')
local epoch, pos, seq = was[2], tonumber(was[3] or 0), tonumber(was[4] or 0)

-- kind, n, node, conn, counter, num, tag, name, text
local function append(keep, kind, n, node, conn, counter, num, tag, name, text)
  pos = pos + 1
  call('XADD', KEYS[1], 'MAXLEN', '~', keep, epoch .. '-' .. digits(pos), 'h',
    table.concat({ kind, digits(seq), n, digits(now), node, conn, counter, num, tag, name }, ' '),
    'm', text)
end

local function store()
  call('HSET', KEYS[2], 'pos', digits(pos), 'seq', digits(seq))
end

-- Whether somebody came later than another.
local function is_later(came, than)
  local epoch, pos = came:match('^(%d+)-(%d+)$')
  local other, before = than:match('^(%d+)-(%d+)$')
  epoch, pos, other, before = tonumber(epoch), tonumber(pos), tonumber(other), tonumber(before)
  return epoch > other or epoch == other and pos > before
end

-- A connection of a node: mac, tag, num.
local function member(record)
  return record:match('^(%S+) (%S+) (%S+)$')
end
