#!lua
-- The first use of a rotated session's new token: its former id works for the grace from now on. KEYS: session,
-- channels. ARGV: tag, id, grace (ms).
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
-- The use of a former id confirms nothing.
local former = id == ARGV[2] and redis.call('HGET', key, 'p')
if former then
  invalidate('c', m.v + 1, id)
  redis.call('HDEL', key, 'p')
  redis.call('SET', base .. 'r:' .. former, id .. ' ' .. string.format('%d', now + ARGV[3]), 'XX', 'KEEPTTL')
  m.v = m.v + 1
  write(key, m)
  tell('changed', id, m, core(key), {version = m.v})
end
return answer('ok', id, redis.call('HGETALL', key))
