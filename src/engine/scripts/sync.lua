-- Who is here on a node, which says so anew in a new epoch: what the engine forgot comes back. ARGV: epoch,
-- node, how many entries to keep, the counter of the last command that was taken; then for each member its
-- connection, mac, tag, num, last n, name, fold, and when it came.
if call('HEXISTS', KEYS[12], ARGV[2]) == 1 then return redis.error_reply('FENCED this node was declared dead') end
if epoch ~= ARGV[1] then return redis.error_reply('EPOCH the log has another one') end
-- Late, and said again meanwhile: the node has gone on.
if call('HGET', KEYS[3], ARGV[2]) ~= ARGV[4] then return digits(pos) end
local node, keep, here = ARGV[2], ARGV[3], {}
for i = 5, #ARGV, 8 do
  local conn, mac, tag, num, n, name, fold, came = unpack(ARGV, i, i + 7)
  local who = mac ~= '-' and person(mac)
  local is_replaced = who and who.gone == 0 and (who.node ~= node or who.conn ~= conn)
    and is_later(who.came, came)
  if not is_replaced then here[conn] = true end
  if is_replaced then
    append(keep, 'x', '0', node, conn, '0', num, tag, name, '')
  elseif mac ~= '-' then
    -- A name that is another's by now is that one's.
    if not is_free(fold, mac) then name, fold = tag, tag end
    if who and who.gone == 0 then name, fold = who.name, who.fold end
    call('HSET', KEYS[6], fold, mac)
    call('HSETNX', KEYS[6], tag, mac)
    remember(mac, { gone = 0, node = node, conn = conn, tag = tag, name = name, fold = fold, came = came,
      asked = who and who.node == node and who.conn == conn and who.asked or 0 })
    call('ZREM', KEYS[7], mac)
    if tonumber(call('HGET', KEYS[5], mac) or -1) < tonumber(n) then call('HSET', KEYS[5], mac, n) end
  end
  if not is_replaced then
    call('HSET', KEYS[11], conn, mac .. ' ' .. tag .. ' ' .. num)
    append(keep, 'p', '0', node, conn, '0', num, tag, name, '')
  end
end
for _, conn in ipairs(call('HKEYS', KEYS[11])) do
  if not here[conn] then
    local mac, tag, num = member(call('HGET', KEYS[11], conn))
    call('HDEL', KEYS[11], conn)
    local who = mac ~= '-' and person(mac)
    if who and who.node == node and who.conn == conn then go(mac, who) end
    append(keep, 'l', '0', node, conn, '0', num, tag, who and who.name or '', 'lost')
  end
end
append(keep, 'd', '0', node, '0', '0', '0', '-', '', 'sync')
store()
return digits(pos)
