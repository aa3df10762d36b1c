#!lua flags=no-writes
-- A session's activities, newest first, with what opens them. KEYS: session, channels. ARGV: tag, id.
local id, key = live(ARGV[2])
if not id then return answer('missing') end
return answer('ok', redis.call('LRANGE', base .. 'a:' .. id, 0, -1), id, redis.call('HGET', key, 'c'),
  redis.call('HGET', key, 's') or '')
