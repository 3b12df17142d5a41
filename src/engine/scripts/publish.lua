-- What a node's clients do in a room, in their order. ARGV: epoch, node, how many entries to keep; then for
-- each its counter, kind, connection, mac, tag, num, n, x, y. What was taken before is passed over.
-- Answers the counter of the last that was taken, the position, and for requests that came again what they
-- had published.
if call('HEXISTS', KEYS[12], ARGV[2]) == 1 then return redis.error_reply('FENCED this node was declared dead') end
local last = call('HGET', KEYS[3], ARGV[2])
if epoch ~= ARGV[1] or not last or call('EXISTS', KEYS[1]) == 0 then
  return redis.error_reply('EPOCH the log has another one')
end
last = tonumber(last)
local node, keep, known = ARGV[2], ARGV[3], {}

local kinds = {}

-- Somebody joins. x: the wished name. n: for how many ms it has waited for that. One who is here with the same
-- identity is replaced, unless it asked later: then this one was on a node that was cut off.
function kinds.j(counter, conn, mac, tag, num, n, x, y)
  if mac == '-' then
    call('HSET', KEYS[11], conn, '- - ' .. num)
    return append(keep, 'j', '-1', node, conn, counter, num, '-', '', '')
  end
  local who, old, name = person(mac), '', nil
  if who then
    name = who.name
    if who.gone == 0 and who.node ~= '-' and who.asked > now - n then
      return append(keep, 'x', '0', node, conn, counter, num, tag, '', '')
    end
    if who.gone == 0 and who.node ~= '-' then
      old = who.node .. ' ' .. who.conn
      call('HDEL', KEYS[11]:sub(1, -#node - 1) .. who.node, who.conn)
    end
  else
    who = { tag = tag, name = '', fold = tag }
    call('HSETNX', KEYS[6], tag, mac)
  end
  local accepted = name and (call('HGET', KEYS[5], mac) or '0') or '-1'
  who.gone, who.node, who.conn = 0, node, conn
  who.came, who.asked = epoch .. '-' .. digits(pos + 1), math.max(0, now - n)
  give(mac, who, x)
  remember(mac, who)
  call('ZREM', KEYS[7], mac)
  call('HSET', KEYS[11], conn, mac .. ' ' .. tag .. ' ' .. num)
  append(keep, 'j', accepted, node, conn, counter, num, tag, who.name, old)
end

-- A member says x. Nothing is said twice, and nothing by one that was replaced.
function kinds.s(counter, conn, mac, tag, num, n, x, y)
  local record = call('HGET', KEYS[11], conn)
  if not record then return end
  local mac, tag, num = member(record)
  local name = ''
  if mac ~= '-' then
    if n ~= '0' then
      if tonumber(call('HGET', KEYS[5], mac) or 0) >= tonumber(n) then return end
      call('HSET', KEYS[5], mac, n)
    end
    local who = person(mac)
    name = who and who.name or tag
  end
  seq = seq + 1
  append(keep, 's', n, node, conn, counter, num, tag, name, x)
end

-- A member used the number n up.
function kinds.u(counter, conn, mac, tag, num, n, x, y)
  local record = call('HGET', KEYS[11], conn)
  local mac = record and member(record)
  if mac and mac ~= '-' and tonumber(call('HGET', KEYS[5], mac) or 0) < tonumber(n) then
    call('HSET', KEYS[5], mac, n)
  end
end

-- A member wants the name x.
function kinds.r(counter, conn, mac, tag, num, n, x, y)
  local record = call('HGET', KEYS[11], conn)
  local mac, tag, num = member(record or '')
  local who = mac and mac ~= '-' and person(mac)
  if not who then return end
  local before = who.name
  give(mac, who, x)
  remember(mac, who)
  if who.name ~= before then append(keep, 'r', '0', node, conn, counter, num, tag, who.name, '') end
end

-- A member leaves. x: it has not said goodbye.
function kinds.l(counter, conn, mac, tag, num, n, x, y)
  local record = call('HGET', KEYS[11], conn)
  if not record then return end
  call('HDEL', KEYS[11], conn)
  local mac, tag, num = member(record)
  local who = mac ~= '-' and person(mac)
  if who then go(mac, who) end
  append(keep, 'l', '0', node, conn, counter, num, tag, who and who.name or '', x)
end

-- Somebody says x who is not here. n: hashes of the request's key and of its body, and the wished name.
function kinds.p(counter, conn, mac, tag, num, n, x, y)
  local key, body = n:match('^(%S+) (%S+)$')
  if key then
    while true do
      local oldest = call('ZRANGE', KEYS[9], 0, 0, 'WITHSCORES')
      local count = call('ZCARD', KEYS[9])
      if not (count >= 1024 or count > 64 and now - oldest[2] >= 600000) then break end
      call('ZREM', KEYS[9], oldest[1])
      call('HDEL', KEYS[8], oldest[1])
    end
    local before = call('HGET', KEYS[8], key)
    if before then
      known[#known + 1] = counter .. ' ' .. (before:sub(1, #body) == body and before:sub(#body + 2) or '-')
      return
    end
  end
  local name = tag
  if y ~= '' then
    local who = person(mac)
    if not who then
      who = { tag = tag, name = '', fold = tag }
      call('HSETNX', KEYS[6], tag, mac)
    end
    give(mac, who, y)
    go(mac, who)
    name = who.name
  end
  seq = seq + 1
  append(keep, 's', '0', node, '0', counter, num, tag, name, x)
  if key then
    call('HSET', KEYS[8], key, body .. ' ' .. digits(seq) .. ' ' .. digits(now) .. ' ' .. name)
    call('ZADD', KEYS[9], digits(now), key)
  end
end

for i = 4, #ARGV, 9 do
  local counter = tonumber(ARGV[i])
  if counter > last then
    last = counter
    kinds[ARGV[i + 1]](ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6],
      ARGV[i + 7], ARGV[i + 8])
  end
end
call('HSET', KEYS[3], node, digits(last))
store()
return { digits(last), digits(pos), known }
