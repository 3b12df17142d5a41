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

-- What is not in the log yet: the head and the text of what happened last, or of several messages.
local head, text, heads, texts, size, is_said, kept
local count = 0

local function add()
  if count == 0 then return end
  -- No text has this byte, since none is UTF-8 that has it.
  if count > 1 then head, text = table.concat(heads, '\n', 1, count), table.concat(texts, '\255', 1, count) end
  count = 0
  pos_digits = digits(pos)
  local id = epoch .. '-' .. pos_digits
  if is_trimmed then
    call('XADD', KEYS[1], id, head, text)
  else
    is_trimmed = true
    call('XADD', KEYS[1], 'MAXLEN', '~', kept, id, head, text)
  end
end

-- An entry of one field: its name says what happened, and its value is the text. Messages share one of 2048 bytes,
-- whose id has the position of the last. author: num, tag, name.
local function append(keep, kind, n, node, conn, counter, author, said)
  local what = kind .. ' ' .. seq_digits .. ' ' .. n .. when .. node .. ' ' .. conn .. ' ' .. counter .. ' ' .. author
  if count > 0 and is_said and kind == 's' and size + #what + #said + 2 <= 2048 then
    if count == 1 then heads, texts = { head }, { text } end
    count, size, pos = count + 1, size + #what + #said + 2, pos + 1
    heads[count], texts[count] = what, said
  else
    add()
    count, size, pos = 1, #what + #said, pos + 1
    head, text, is_said, kept = what, said, kind == 's', keep
  end
end

-- Says how the log goes on, and that the node's commands are taken up to this counter.
local function store(counter)
  add()
  call('HSET', KEYS[2], 'pos', pos_digits, 'seq', seq_digits, node, counter)
end
