-- A node is dead, or goes by itself: its members in a room leave. ARGV: node, how many entries to keep, room, 1 if
-- it goes by itself. Answers how many left.
-- Whoever fenced it may ask late. By then the engine was emptied of that, and the node lives.
if ARGV[4] ~= '1' and call('HEXISTS', KEYS[11], node) == 0 then return 0 end
local people, left = people(), 0
local on = call('HGETALL', KEYS[10])
for i = 1, #on, 2 do
  local mac = people.of(on[i + 1])
  local who = mac ~= '-' and people.find(mac)
  if who and who.node == node and who.conn == on[i] then people.go(mac, who) end
  left = left + 1
end
call('DEL', KEYS[10])
call('SREM', KEYS[12], ARGV[3])
-- Without its log, whoever opens the room finds out by itself who is here.
if epoch and is_whole then
  append(ARGV[2], 'd', '0', node, '0', '0', '0 - ', '')
  store('0')
end
call('HDEL', KEYS[2], node)
return left
