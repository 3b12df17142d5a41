-- A node is dead, or goes: its members in a room leave. ARGV: node, how many entries to keep, room.
-- Answers how many left.
local node, left = ARGV[1], 0
local on = call('HGETALL', KEYS[11])
for i = 1, #on, 2 do
  local mac = member(on[i + 1])
  local who = mac ~= '-' and person(mac)
  if who and who.node == node and who.conn == on[i] then go(mac, who) end
  left = left + 1
end
call('DEL', KEYS[11])
call('HDEL', KEYS[3], node)
call('SREM', KEYS[13], ARGV[3])
if epoch then
  append(ARGV[2], 'd', '0', node, '0', '0', '0', '-', '', '')
  store()
end
return left
