-- What tags are made with: the secret that the engine had first, whoever remembers it. KEYS: secret. ARGV: a
-- node's secret, and when an engine had it first, in ms, or 0. Answers that time and the secret of all.
local mine, since = ARGV[1], tonumber(ARGV[2])
local kept = redis.call('GET', KEYS[1]) or ''
local old, theirs = kept:match('^(%d+) (%x+)$')
old = tonumber(old)
if not old or since > 0 and (since < old or since == old and mine < theirs) then
  if since == 0 then
    local time = redis.call('TIME')
    since = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  kept = string.format('%.0f', since) .. ' ' .. mine
  redis.call('DEL', KEYS[1])
  redis.call('SETNX', KEYS[1], kept)
end
return kept
