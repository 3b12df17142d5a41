-- Declares a node dead whose beat is still the one that was seen for too long; it can do nothing from here on.
-- KEYS: beats, gone, rooms:NODE. ARGV: node, the beat, or nothing if it had none; rooms in which it may have been.
-- Answers its rooms, or nothing if it lives.
local beat = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if beat ~= ARGV[2] then return false end
redis.call('HDEL', KEYS[1], ARGV[1])
local time = redis.call('TIME')[1]
redis.call('HSET', KEYS[2], ARGV[1], time)
-- Whoever buries it may die before it has done so.
for i = 3, #ARGV do redis.call('SADD', KEYS[3], ARGV[i]) end
for _, node in ipairs(redis.call('HKEYS', KEYS[2])) do
  if time - redis.call('HGET', KEYS[2], node) > 86400 then redis.call('HDEL', KEYS[2], node) end
end
return redis.call('SMEMBERS', KEYS[3])
