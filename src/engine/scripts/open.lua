-- A node opens a room, or goes on with it on a new connection. ARGV: who the server is, node, room, the epoch
-- that the node knows or 0, whether it wants everything, how many messages of history, bytes of it, how long
-- an idle room is kept in ms, the age of history in ms.
-- Answers the epoch, position, number, the last counter that was taken; then the epochs before, the members
-- and the end of the log.
if call('HEXISTS', KEYS[12], ARGV[2]) == 1 then return redis.error_reply('FENCED this node was declared dead') end
if was[1] ~= ARGV[1] or not epoch or call('EXISTS', KEYS[1]) == 0 then
  local next = math.max(now, tonumber(epoch or 0) + 1, tonumber(ARGV[4]) + 1)
  if epoch then
    call('RPUSH', KEYS[10], epoch .. ' ' .. digits(seq))
    call('LTRIM', KEYS[10], -16, -1)
  end
  local prev = (epoch or '0') .. ' ' .. digits(pos)
  epoch, pos = digits(next), -1
  append('1000000', 'e', '0', ARGV[2], '0', '0', '0', '-', '', prev)
  call('HSET', KEYS[2], 'server', ARGV[1], 'epoch', epoch)
  store()
end
call('HSETNX', KEYS[3], ARGV[2], '0')
call('SADD', KEYS[13], ARGV[3])
call('XTRIM', KEYS[1], 'MINID', '~', digits(math.max(0, now - ARGV[9])) .. '-0')
for i = 1, 10 do call('PEXPIRE', KEYS[i], ARGV[8]) end
call('PEXPIRE', KEYS[11], ARGV[8])
call('PEXPIRE', KEYS[13], ARGV[8])
local answer = { epoch, digits(pos), digits(seq), call('HGET', KEYS[3], ARGV[2]), {}, {}, {} }
if ARGV[5] == '1' then
  answer[5] = call('LRANGE', KEYS[10], 0, -1)
  local prefix = KEYS[11]:sub(1, -#ARGV[2] - 1)
  for _, node in ipairs(call('HKEYS', KEYS[3])) do
    local on = call('HGETALL', prefix .. node)
    for i = 1, #on, 2 do
      local mac, tag, num = member(on[i + 1])
      local who = mac ~= '-' and person(mac)
      local text = table.concat({ node, on[i], num, tag, who and who.name or '' }, ' ')
      answer[6][#answer[6] + 1] = text
    end
  end
  local from, messages, bytes = '+', 0, 0
  while messages < tonumber(ARGV[6]) and bytes < tonumber(ARGV[7]) do
    local some = call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 50)
    for i, entry in ipairs(some) do
      if not (i == 1 and from ~= '+') then
        local kind = entry[2][2]:sub(1, 1)
        if kind == 's' then messages = messages + 1 end
        bytes = bytes + #entry[2][2] + #entry[2][4]
        if messages > tonumber(ARGV[6]) or bytes > tonumber(ARGV[7]) then break end
        if kind == 's' then answer[7][#answer[7] + 1] = entry end
      end
    end
    if #some < 50 then break end
    from = some[#some][1]
  end
end
return answer
