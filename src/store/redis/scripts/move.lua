-- Homes a session at another server.
local function move(id, key, m, c, to)
  invalidate('c', m.v + 1, id)
  count('s:' .. c.server_id, -1)
  count('s:' .. to, 1, m.expires)
  local from = c.server_id
  c.previous_server_id, c.server_id = from, to
  c.migrated_at, c.migrations = now, (c.migrations or 0) + 1
  redis.call('HSET', key, 'c', cjson.encode(c))
  m.v = m.v + 1
  write(key, m)
  tell('migrated', id, m, c, {version = m.v, previous_server_id = from})
end
