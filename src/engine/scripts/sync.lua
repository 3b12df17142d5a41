-- Who is here on a node, which says so anew in a new epoch: what the engine forgot comes back. ARGV: node, epoch,
-- how many entries to keep, the counter of the last command that was taken; then for each member its
-- connection, mac, tag, num, last n that its node has heard, name, fold, and when it came.
if call('HEXISTS', KEYS[11], node) == 1 then return redis.error_reply('FENCED this node was declared dead') end
if epoch ~= ARGV[2] or not is_whole then return redis.error_reply('EPOCH the log has another one') end
-- Late, and said again meanwhile: the node has gone on.
if was[5] ~= ARGV[4] then return pos_digits end
local people, numbers, keep, here = people(), numbers(), ARGV[3], {}
for i = 5, #ARGV, 8 do
  local conn, mac, tag, num, n, name, fold, came = unpack(ARGV, i, i + 7)
  local who = mac ~= '-' and people.find(mac)
  -- It came again elsewhere, and may have left there. What it said here meanwhile was not taken, so nothing of
  -- what it says next may be.
  local is_replaced = who and (who.gone > 0 or who.node ~= node or who.conn ~= conn)
    and people.is_later(who.came, came)
  if not is_replaced then here[conn] = true end
  if is_replaced then
    append(keep, 'x', '0', node, conn, '0', num .. ' ' .. tag .. ' ' .. name, '')
  elseif mac ~= '-' then
    -- A name that is another's by now is that one's.
    if not people.is_free(fold, mac) then name, fold = tag, tag end
    if who and who.gone == 0 then name, fold = who.name, who.fold end
    call('HSET', KEYS[5], fold, mac)
    call('HSETNX', KEYS[5], tag, mac)
    people.remember(mac, { gone = 0, node = node, conn = conn, tag = tag, name = name, fold = fold, came = came,
      asked = who and who.node == node and who.conn == conn and who.asked or 0 })
    call('ZREM', KEYS[6], mac)
    numbers.hear(mac, tonumber(n))
  end
  if not is_replaced then
    local author = num .. ' ' .. tag .. ' ' .. name
    people.enter(conn, mac, author)
    append(keep, 'p', '0', node, conn, '0', author, '')
  end
end
for _, conn in ipairs(call('HKEYS', KEYS[10])) do
  if not here[conn] then
    local mac, author = people.of(call('HGET', KEYS[10], conn))
    call('HDEL', KEYS[10], conn)
    local who = mac ~= '-' and people.find(mac)
    if who and who.node == node and who.conn == conn then people.go(mac, who) end
    append(keep, 'l', '0', node, conn, '0', author, 'lost')
  end
end
append(keep, 'd', '0', node, '0', '0', '0 - ', 'sync')
store(ARGV[4])
return pos_digits
