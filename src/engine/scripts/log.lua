-- What all scripts of a room begin with. KEYS, in the order of engine::keys: 1 log, 2 meta, 3 people, 4 last,
-- 5 names, 6 absent, 7 keys, 8 keyage, 9 epochs, 10 on:NODE, 11 gone, 12 rooms:NODE. ARGV: first the node.
-- A lone message finds nothing of this in the processor's caches, so a call, a function or a number that is
-- formatted costs five times what it does in a flood: there are few of them on its way.
local call = redis.call
local node = ARGV[1]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function digits(number) return string.format('%.0f', number) end

-- Where the log is, and how it goes on. meta has for each node, under its name, which has a dot, the counter of
-- its last command that was taken.
local was = call('HMGET', KEYS[2], 'server', 'epoch', 'pos', 'seq', node)
local epoch, pos, seq = was[2], tonumber(was[3] or 0), tonumber(was[4] or 0)
local pos_digits, seq_digits = was[3] or '0', was[4] or '0'
-- The log of a room that was opened has an entry at least; else somebody has removed it.
local is_whole = call('EXISTS', KEYS[1]) == 1
local when, is_trimmed = ' ' .. digits(now) .. ' ', false

-- An entry of one field: its name says what happened, and its value is the text. author: num, tag, name.
local function append(keep, kind, n, node, conn, counter, author, text)
  pos = pos + 1
  pos_digits = digits(pos)
  local id = epoch .. '-' .. pos_digits
  local head = kind .. ' ' .. seq_digits .. ' ' .. n .. when .. node .. ' ' .. conn .. ' ' .. counter .. ' ' .. author
  if is_trimmed then
    call('XADD', KEYS[1], id, head, text)
  else
    is_trimmed = true
    call('XADD', KEYS[1], 'MAXLEN', '~', keep, id, head, text)
  end
end

-- Says how the log goes on, and that the node's commands are taken up to this counter.
local function store(counter)
  call('HSET', KEYS[2], 'pos', pos_digits, 'seq', seq_digits, node, counter)
end
