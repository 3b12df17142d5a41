-- Which numbers of somebody's messages were accepted. `last` has the greatest, and behind it what the engine has lost
-- of them while its connection went on: for each loss " 1:LOW-HIGH", with 0 in place of 1 once it was told to say
-- these again. They are accepted again. Made when it is needed.
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
    for mark, low, high in lost:gmatch(' (%d):(%d+)-(%d+)') do
      low, high = tonumber(low), tonumber(high)
      if low <= number and number <= high then is_lost, low = true, number + 1 end
      if low <= high then left = left .. ' ' .. mark .. ':' .. digits(low) .. '-' .. digits(high) end
    end
    return is_lost and left
  end

  -- Somebody comes with a cursor of the epoch `at`, or 0: the last number up to which everything was accepted, but
  -- for what it knows that was lost. It says the others again. What it heard of losses it knows from its connection,
  -- unless it was told there to say something again; or its cursor is of an earlier epoch, and the engine may have
  -- lost that it was told.
  function numbers.tell(mac, at)
    local top, lost = numbers.of(mac)
    if lost == '' then return top end
    local told, left = top, ''
    for mark, low, high in lost:gmatch(' (%d):(%d+)-(%d+)') do
      if at > 0 and (mark == '0' or at < tonumber(epoch)) then
        told = math.min(told, low - 1)
        left = left .. ' 0:' .. low .. '-' .. high
      end
    end
    call('HSET', KEYS[4], mac, digits(top) .. left)
    return told
  end

  -- The node of somebody's connection has heard of all numbers up to this one, and of those behind it that they are
  -- lost. Of losses eight are remembered.
  function numbers.hear(mac, number)
    local top, lost = numbers.of(mac)
    lost = lost:gsub(' 1:(%d+)-(%d+)', function(low, high)
      if tonumber(high) > number then return ' 0:' .. low .. '-' .. high end
    end)
    if top < number then
      lost, top = lost .. ' 1:' .. digits(top + 1) .. '-' .. digits(number), number
    end
    if lost == '' then return end
    if select(2, lost:gsub(' ', '')) > 8 then lost = lost:match('^ %S+(.*)$') end
    call('HSET', KEYS[4], mac, digits(top) .. lost)
  end

  return numbers
end
