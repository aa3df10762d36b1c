#!lua flags=allow-oom
-- Counts a bucket, after clearing up. KEYS: counts, channels. ARGV: tag, limit.
local cleared, more = clear_expired(tonumber(ARGV[2]))
if more then return answer('more', #cleared) end
local day = math.floor(now / DAY)
return answer('ok', #cleared, redis.call('HGETALL', base .. 'h'), redis.call('ZCARD', base .. 'n'),
  redis.call('HGETALL', base .. 'q:' .. day), redis.call('HGETALL', base .. 'q:' .. (day - 1)))
