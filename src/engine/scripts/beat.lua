-- A node lives. KEYS: beats, gone, secret. ARGV: node. Answers all beats, the dead nodes with rooms that nobody
-- has taken them out of yet, and what tags are made with.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return redis.error_reply('FENCED this node was declared dead') end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
local unburied = {}
for _, node in ipairs(redis.call('HKEYS', KEYS[2])) do
  if redis.call('EXISTS', 'roomd:rooms:' .. node) == 1 then unburied[#unburied + 1] = node end
end
return { redis.call('HGETALL', KEYS[1]), unburied, redis.call('GET', KEYS[3]) or '' }
