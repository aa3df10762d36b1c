-- The classes of which the bucket has sessions.
local function classes()
  local names = {}
  for _, field in ipairs(redis.call('HKEYS', base .. 'h')) do
    if string.sub(field, 1, 2) == 'c:' then names[#names + 1] = string.sub(field, 3) end
  end
  table.sort(names)
  return names
end

-- Counts anew what the bucket holds: the key of a session had gone before the sweep came by.
local function recount()
  local counts = {}
  for _, class in ipairs(classes()) do
    local x = base .. 'x:' .. class
    for _, id in ipairs(redis.call('ZRANGE', x, 0, -1)) do
      local text = redis.call('HGET', base .. 's:' .. id, 'c')
      if text then
        local server = 's:' .. cjson.decode(text).server_id
        counts[server] = (counts[server] or 0) + 1
        counts['c:' .. class] = (counts['c:' .. class] or 0) + 1
      else
        redis.call('ZREM', x, id)
      end
    end
  end
  for _, one in ipairs(redis.call('ZRANGE', base .. 'u', 0, -1)) do
    local id = label .. string.sub(one, HASH + 1)
    if redis.call('EXISTS', base .. 's:' .. id) == 0 then redis.call('ZREM', base .. 'u', one) end
  end
  local h = base .. 'h'
  for _, field in ipairs(redis.call('HKEYS', h)) do
    if counts[field] then redis.call('HSET', h, field, counts[field]) else redis.call('HDEL', h, field) end
  end
end

-- Clears up after expired sessions: index entries, counts, one event each. Their keys stay until the grace is over.
local function clear_expired(limit)
  local ended, gone, oldest = {}, false, now
  for _, class in ipairs(classes()) do
    local x = base .. 'x:' .. class
    local due = redis.call('ZRANGEBYSCORE', x, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit - #ended)
    for i = 1, #due, 2 do
      local id, key = due[i], base .. 's:' .. due[i]
      oldest = math.min(oldest, tonumber(due[i + 1]))
      local text = redis.call('HGET', key, 'm')
      if text then
        expire(id, key, parse(text))
      else
        redis.call('ZREM', x, id)
        gone = true
        tell('expired', id, {class = class}, {}, {reason = 'expired'})
      end
      ended[#ended + 1] = id
    end
    if #ended >= limit then break end
  end
  if gone then recount() end
  redis.call('ZREMRANGEBYSCORE', base .. 'n', '-inf', now)
  return ended, #ended >= limit, now - oldest
end
