-- A node opens a room, or goes on with it on a new connection. ARGV: node, who the server is, room, the epoch
-- that the node knows or 0, whether it wants everything, how many messages of history, bytes of it, how long
-- an idle room is kept in ms, the age of history in ms, a number that no other opening has, but for chance.
-- Answers the epoch, position, number, the last counter that was taken; then the epochs before, the members
-- and the end of the log.
if call('HEXISTS', KEYS[11], node) == 1 then return redis.error_reply('FENCED this node was declared dead') end
-- An epoch that is older than one that a node knows is of an engine whose clock went back when it was emptied.
if was[1] ~= ARGV[2] or not epoch or tonumber(epoch) < tonumber(ARGV[4]) or not is_whole then
  -- The time. But two logs must not have the same epoch, though nobody may know of the one when the other begins,
  -- since the engine was emptied, or the answer was lost. So if the clock went back, the distance to the last that is
  -- known is the opening's own.
  local last = math.max(tonumber(epoch or 0), tonumber(ARGV[4]))
  local next = now > last and now or last + 1 + ARGV[10]
  if epoch then
    call('RPUSH', KEYS[9], epoch .. ' ' .. seq_digits)
    call('LTRIM', KEYS[9], -16, -1)
  end
  local prev = (epoch or '0') .. ' ' .. pos_digits
  if epoch and not is_whole then prev = prev .. ' removed' end
  -- What is left of a log that nobody knows has numbers that are given anew.
  if not epoch then call('DEL', KEYS[1], KEYS[7], KEYS[8], KEYS[9]) end
  epoch, pos = digits(next), -1
  append('1000000', 'e', '0', node, '0', '0', '0 - ', prev)
  call('HSET', KEYS[2], 'server', ARGV[2], 'epoch', epoch)
end
local taken = was[5] or '0'
store(taken)
call('SADD', KEYS[12], ARGV[3])
-- What is too old goes, but for the last entry. Ids do not tell, since they begin with the epoch. What is left
-- over goes the next time.
local oldest, from = nil, '-'
for _ = 1, 20 do
  local some = call('XRANGE', KEYS[1], from, '+', 'COUNT', 100)
  for _, entry in ipairs(some) do
    oldest = entry[1]
    if tonumber(entry[2][1]:match('^%S+ %S+ %S+ (%d+)') or 0) >= now - ARGV[9] then break end
  end
  if #some < 100 or oldest ~= some[100][1] then break end
  from = oldest
end
if oldest then call('XTRIM', KEYS[1], 'MINID', oldest) end
for i, key in ipairs(KEYS) do
  if i ~= 11 then call('PEXPIRE', key, ARGV[8]) end
end
local answer = { epoch, pos_digits, seq_digits, taken, {}, {}, {} }
if ARGV[5] == '1' then
  answer[5] = call('LRANGE', KEYS[9], 0, -1)
  local prefix = KEYS[10]:sub(1, -#node - 1)
  for _, other in ipairs(call('HKEYS', KEYS[2])) do
    if other:find('.', 1, true) then
      local on = call('HGETALL', prefix .. other)
      for i = 1, #on, 2 do
        answer[6][#answer[6] + 1] = other .. ' ' .. on[i] .. ' ' .. on[i + 1]:match('^%S+ (.*)$')
      end
    end
  end
  local from, messages, bytes = '+', 0, 0
  while messages < tonumber(ARGV[6]) and bytes < tonumber(ARGV[7]) do
    local some = call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 50)
    for i, entry in ipairs(some) do
      if not (i == 1 and from ~= '+') then
        local head, text = entry[2][1], entry[2][2]
        local is_message = head:sub(1, 1) == 's'
        bytes = bytes + #head + #text
        if messages >= tonumber(ARGV[6]) or bytes > tonumber(ARGV[7]) then break end
        if is_message then
          messages = messages + 1 + select(2, head:gsub('\n', ''))
          answer[7][#answer[7] + 1] = entry
        end
      end
    end
    if #some < 50 then break end
    from = some[#some][1]
  end
end
return answer
