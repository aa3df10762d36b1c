#!lua flags=no-writes
-- How sessions of a user ended, newest first. KEYS: users' sessions, channels. ARGV: tag, hash of the user.
return answer('ok', redis.call('LRANGE', base .. 'l:' .. ARGV[2], 0, -1))
