#!lua flags=allow-oom
-- Records a use. KEYS: session, channels. ARGV: tag, id, age (ms), the home it was read with and its new home (empty:
-- it stays), whether to give the session back (0/1).
local id, key, m = find(ARGV[2])
local at = now - ARGV[3]
-- A use before the deadline counts even if it is recorded after it, unless the sweep has come by.
if not id or at >= m.expires or not redis.call('ZSCORE', base .. 'x:' .. m.class, id) then return answer('missing') end
if at > m.last then
  m.last = at
  m.expires = math.min(m.last + m.idle, m.abs)
  write(key, m)
  index(id, key, m)
end
if ARGV[5] ~= '' and not is_newer(m) then
  local c = core(key)
  if c.server_id == ARGV[4] then move(id, key, m, c, ARGV[5]) end
end
if ARGV[6] == '1' then return answer('ok', id, redis.call('HGETALL', key)) end
return answer('ok')
