#!lua flags=no-writes
-- A session's activities, newest first. KEYS: session, channels. ARGV: tag, id.
local id = live(ARGV[2])
if not id then return answer('missing') end
return answer('ok', redis.call('LRANGE', base .. 'a:' .. id, 0, -1))
