-- What a node's clients do in a room, in their order. ARGV: node, epoch, how many entries to keep; then for
-- each its counter, kind, connection, n, x; of j and p also mac, tag, num, y. What was taken before is passed
-- over. Answers the counter of the last that was taken, the position, and for requests that came again what
-- they had published.
if call('HEXISTS', KEYS[11], node) == 1 then return redis.error_reply('FENCED this node was declared dead') end
local taken = was[5]
if epoch ~= ARGV[2] or not taken or not is_whole then return redis.error_reply('EPOCH the log has another one') end
local last, keep, known = tonumber(taken), ARGV[3], {}

-- Of connections, false for one that is not there, the greatest n of each mac, and what was lost of those of whom
-- something was: what messages have looked up, and the latter two are not stored yet.
local authors, macs, accepted, lost = {}, {}, {}, {}

-- A member says x. Nothing is said twice, and nothing by one that was replaced.
local function say(counter, conn, n, x)
  local author = authors[conn]
  if author == nil then
    local record = call('HGET', KEYS[10], conn)
    local space = record and record:find(' ', 1, true)
    author = record and record:sub(space + 1)
    authors[conn], macs[conn] = author, record and record:sub(1, space - 1)
  end
  if not author then return end
  local mac = macs[conn]
  if n ~= '0' and mac ~= '-' then
    local number, top = tonumber(n), accepted[mac]
    if not top then
      local kept = call('HGET', KEYS[4], mac) or 0
      top = tonumber(kept)
      if not top then top, lost[mac] = numbers().of(mac) end
    end
    if top < number then
      accepted[mac] = number
      if lost[mac] then lost[mac] = numbers().beyond(lost[mac]) end
    else
      local left = lost[mac] and numbers().again(lost[mac], number)
      if not left then return end
      accepted[mac], lost[mac] = top, left
    end
  end
  seq = seq + 1
  seq_digits = digits(seq)
  append(keep, 's', n, node, conn, counter, author, x)
end

local function store_accepted()
  for mac, n in pairs(accepted) do call('HSET', KEYS[4], mac, digits(n) .. (lost[mac] or '')) end
end

local function others()
  local people, numbers, kinds = people(), numbers(), {}

  -- Somebody joins. x: the wished name. n: for how many ms it has waited for that. One who is here with the same
  -- identity is replaced, unless it asked later: then this one was on a node that was cut off. y: the epoch of its
  -- cursor, or 0.
  function kinds.j(counter, conn, n, x, mac, tag, num, since)
    if mac == '-' then
      people.enter(conn, '-', num .. ' - ')
      return append(keep, 'j', '-1', node, conn, counter, num .. ' - ', '')
    end
    local who, old, name = people.find(mac), '', nil
    if who then
      name = who.name
      if who.gone == 0 and who.node ~= '-' and who.asked > now - n then
        return append(keep, 'x', '0', node, conn, counter, num .. ' ' .. tag .. ' ', '')
      end
      if who.gone == 0 and who.node ~= '-' then
        old = who.node .. ' ' .. who.conn
        call('HDEL', KEYS[10]:sub(1, -#node - 1) .. who.node, who.conn)
      end
    else
      who = { tag = tag, name = '', fold = tag }
      call('HSETNX', KEYS[5], tag, mac)
    end
    local accepted = name and digits(numbers.tell(mac, tonumber(since) or 0)) or '-1'
    who.gone, who.node, who.conn = 0, node, conn
    who.came, who.asked = epoch .. '-' .. digits(pos + 1), math.max(0, now - n)
    people.give(mac, who, x)
    people.remember(mac, who)
    call('ZREM', KEYS[6], mac)
    local author = num .. ' ' .. tag .. ' ' .. who.name
    people.enter(conn, mac, author)
    append(keep, 'j', accepted, node, conn, counter, author, old)
  end

  -- A member used the number n up.
  function kinds.u(counter, conn, n, x)
    local record = call('HGET', KEYS[10], conn)
    local mac = record and people.of(record)
    if mac and mac ~= '-' then
      local number, top, lost = tonumber(n), numbers.of(mac)
      local left = top < number and numbers.beyond(lost) or numbers.again(lost, number)
      if left then call('HSET', KEYS[4], mac, digits(math.max(top, number)) .. left) end
    end
  end

  -- A member wants the name x.
  function kinds.r(counter, conn, n, x)
    local mac, author = people.of(call('HGET', KEYS[10], conn) or '')
    local who = mac and mac ~= '-' and people.find(mac)
    if not who then return end
    local before = who.name
    people.give(mac, who, x)
    people.remember(mac, who)
    author = author:match('^%S+ %S+ ') .. who.name
    people.enter(conn, mac, author)
    if who.name ~= before then append(keep, 'r', '0', node, conn, counter, author, '') end
  end

  -- A member leaves. x: it has not said goodbye.
  function kinds.l(counter, conn, n, x)
    local record = call('HGET', KEYS[10], conn)
    if not record then return end
    call('HDEL', KEYS[10], conn)
    local mac, author = people.of(record)
    local who = mac ~= '-' and people.find(mac)
    if who then people.go(mac, who) end
    append(keep, 'l', '0', node, conn, counter, author, x)
  end

  -- Somebody says x who is not here. n: hashes of the request's key and of its body. y: the wished name.
  function kinds.p(counter, conn, n, x, mac, tag, num, y)
    local key, body = n:match('^(%S+) (%S+)$')
    if key then
      while true do
        local oldest = call('ZRANGE', KEYS[8], 0, 0, 'WITHSCORES')
        local count = call('ZCARD', KEYS[8])
        if not (count >= 1024 or count > 64 and now - oldest[2] >= 600000) then break end
        call('ZREM', KEYS[8], oldest[1])
        call('HDEL', KEYS[7], oldest[1])
      end
      local before = call('HGET', KEYS[7], key)
      if before then
        known[#known + 1] = counter .. ' ' .. (before:sub(1, #body) == body and before:sub(#body + 2) or '-')
        return
      end
    end
    local name = tag
    if y ~= '' then
      local who = people.find(mac)
      if not who then
        who = { tag = tag, name = '', fold = tag }
        call('HSETNX', KEYS[5], tag, mac)
      end
      people.give(mac, who, y)
      people.go(mac, who)
      name = who.name
    end
    seq = seq + 1
    seq_digits = digits(seq)
    append(keep, 's', '0', node, '0', counter, num .. ' ' .. tag .. ' ' .. name, x)
    if key then
      call('HSET', KEYS[7], key, body .. ' ' .. seq_digits .. ' ' .. digits(now) .. ' ' .. name)
      call('ZADD', KEYS[8], digits(now), key)
    end
  end

  return kinds
end

local i, kinds = 4, nil
while i < #ARGV do
  local counter, kind = ARGV[i], ARGV[i + 1]
  local number = tonumber(counter)
  if number > last then
    last, taken = number, counter
    if kind == 's' then
      say(counter, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    else
      store_accepted()
      authors, accepted, lost = {}, {}, {}
      kinds = kinds or others()
      kinds[kind](counter, unpack(ARGV, i + 2, i + 8))
    end
  end
  i = i + ((kind == 'j' or kind == 'p') and 9 or 5)
end
store_accepted()
store(taken)
return { taken, pos_digits, known }
