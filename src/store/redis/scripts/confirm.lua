#!lua
-- The first use of a rotated session's new token: its former id works for the grace from now on. KEYS: session,
-- channels. ARGV: tag, id, grace (ms).
local id, key = ARGV[2], KEYS[1]
local text = redis.call('HGET', key, 'm')
local m = text and parse(text)
if not m or now >= m.expires then return answer('missing') end
local former = redis.call('HGET', key, 'p')
if former then
  invalidate('c', m.v + 1, id)
  redis.call('HDEL', key, 'p')
  redis.call('SET', base .. 'r:' .. former, id .. ' ' .. string.format('%d', now + ARGV[3]), 'XX', 'KEEPTTL')
  m.v = m.v + 1
  write(key, m)
  tell('changed', id, m, core(key), {version = m.v})
end
return answer('ok', id, redis.call('HGETALL', key))
