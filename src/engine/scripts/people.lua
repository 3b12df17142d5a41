-- Who is in a room, and whom it remembers. Made when it is needed: most calls are of messages alone.
local function people()
  local people = {}

  -- Somebody whom the room remembers: when it went (0: it is here), its node and connection, tag, name, what
  -- the name is compared by, the epoch and position at which it came, and when it asked to.
  function people.find(mac)
    local record = call('HGET', KEYS[3], mac)
    if not record then return nil end
    local gone, node, conn, tag, name, fold, came, asked =
      record:match('^(%d+)\n(%S+)\n(%d+)\n(%S+)\n([^\n]*)\n([^\n]*)\n(%S+)\n(%d+)$')
    return {
      gone = tonumber(gone), node = node, conn = conn, tag = tag, name = name, fold = fold, came = came,
      asked = tonumber(asked),
    }
  end

  function people.remember(mac, who)
    call('HSET', KEYS[3], mac, table.concat(
      { digits(who.gone), who.node, who.conn, who.tag, who.name, who.fold, who.came or '0-0',
        digits(who.asked or 0) }, '\n'))
  end

  local function forget(mac)
    local who = people.find(mac)
    if who and who.gone > 0 then
      for _, fold in ipairs({ who.fold, who.tag }) do
        if call('HGET', KEYS[5], fold) == mac then call('HDEL', KEYS[5], fold) end
      end
      call('HDEL', KEYS[3], mac)
      call('HDEL', KEYS[4], mac)
    end
    call('ZREM', KEYS[6], mac)
  end

  -- A name is free if it is nobody else's who is here or went less than ten minutes ago.
  function people.is_free(fold, mac)
    local owner = call('HGET', KEYS[5], fold)
    if not owner or owner == mac then return true end
    local who = people.find(owner)
    return not who or who.gone > 0 and now - who.gone >= 600000
  end

  -- Gives the name that is wished, or the next to it that is free, or the tag. The wish is
  -- engine::command::wish: name, fold, base of one digit, its fold, base of two digits, its fold.
  function people.give(mac, who, wish)
    local parts = {}
    for part in (wish .. '\n'):gmatch('([^\n]*)\n') do parts[#parts + 1] = part end
    local name, fold = who.tag, who.tag
    if parts[1] == who.name and who.name ~= '' then
      return
    elseif #parts == 6 then
      if people.is_free(parts[2], mac) then
        name, fold = parts[1], parts[2]
      else
        for n = 2, 99 do
          local at = n < 10 and 3 or 5
          if people.is_free(parts[at + 1] .. n, mac) then
            name, fold = parts[at] .. n, parts[at + 1] .. n
            break
          end
        end
      end
    elseif wish == '' and who.name ~= '' then
      return
    end
    if who.fold ~= who.tag and call('HGET', KEYS[5], who.fold) == mac then
      call('HDEL', KEYS[5], who.fold)
    end
    call('HSET', KEYS[5], fold, mac)
    who.name, who.fold = name, fold
  end

  -- Somebody goes. Who cannot come again is forgotten at once, and of the others the last 256 are remembered.
  function people.go(mac, who)
    who.gone, who.node, who.conn = now, '-', '0'
    people.remember(mac, who)
    if who.tag:sub(1, 1) == '~' and who.name == who.tag then return forget(mac) end
    call('ZADD', KEYS[6], digits(now), mac)
    while call('ZCARD', KEYS[6]) > 256 do
      forget(call('ZRANGE', KEYS[6], 0, 0)[1])
    end
  end

  -- Whether somebody came later than another.
  function people.is_later(came, than)
    local epoch, pos = came:match('^(%d+)-(%d+)$')
    local other, before = than:match('^(%d+)-(%d+)$')
    epoch, pos, other, before = tonumber(epoch), tonumber(pos), tonumber(other), tonumber(before)
    return epoch > other or epoch == other and pos > before
  end

  -- A connection of this node.
  function people.enter(conn, mac, author)
    call('HSET', KEYS[10], conn, mac .. ' ' .. author)
  end

  -- Whose connection a record of on:NODE is: mac, and for the log its num, tag and name.
  function people.of(record)
    return record:match('^(%S+) (.*)$')
  end

  return people
end
