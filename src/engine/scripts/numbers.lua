-- Which numbers of somebody's messages were accepted. `last` has the greatest, and behind it what the engine has lost
-- of them while its connection went on: for each loss " EPOCH:LOW-HIGH", with the epoch that began with it, or 0
-- once it was told to say these again. They are accepted again. Made when it is needed.
local function numbers()
  local numbers = {}

  -- The greatest, and what was lost.
  function numbers.of(mac)
    local top, lost = (call('HGET', KEYS[4], mac) or '0'):match('^(%d+)(.*)$')
    return tonumber(top), lost
  end

  -- What is still lost once a number is said that is the greatest: whoever was told to say something again would
  -- have said it before.
  function numbers.beyond(lost) return (lost:gsub(' 0:%S+', '')) end

  -- What is still lost once a number is said again; nothing if it was not lost. Nor is anything before it.
  function numbers.again(lost, number)
    local left, is_lost = '', false
    for epoch, low, high in lost:gmatch(' (%d+):(%d+)-(%d+)') do
      low, high = tonumber(low), tonumber(high)
      if low <= number and number <= high then is_lost, low = true, number + 1 end
      if low <= high then left = left .. ' ' .. epoch .. ':' .. digits(low) .. '-' .. digits(high) end
    end
    return is_lost and left
  end

  -- Somebody comes with a cursor of the epoch `at`, or 0: the last number up to which everything was accepted, but
  -- for what it knows that was lost. It says the others again.
  function numbers.tell(mac, at)
    local top, lost = numbers.of(mac)
    if lost == '' then return top end
    local told, left = top, ''
    for epoch, low, high in lost:gmatch(' (%d+):(%d+)-(%d+)') do
      if at > 0 and (epoch == '0' or at < tonumber(epoch)) then
        told = math.min(told, low - 1)
        left = left .. ' 0:' .. low .. '-' .. high
      end
    end
    call('HSET', KEYS[4], mac, digits(top) .. left)
    return told
  end

  -- The node of somebody's connection has heard of all numbers up to this one. Of losses eight are remembered.
  function numbers.hear(mac, number)
    local top, lost = numbers.of(mac)
    if top >= number then return end
    lost = lost .. ' ' .. epoch .. ':' .. digits(top + 1) .. '-' .. digits(number)
    if select(2, lost:gsub(' ', '')) > 8 then lost = lost:match('^ %S+(.*)$') end
    call('HSET', KEYS[4], mac, digits(number) .. lost)
  end

  return numbers
end
