#!lua flags=allow-oom
-- Counts a bucket, after clearing up. KEYS: counts, channels. ARGV: tag, limit.
local _, more = clear_expired(tonumber(ARGV[2]))
if more then return answer('more') end
local day = math.floor(now / DAY)
return answer('ok', redis.call('HGETALL', base .. 'h'), redis.call('ZCARD', base .. 'n'),
  redis.call('HGETALL', base .. 'q:' .. day), redis.call('HGETALL', base .. 'q:' .. (day - 1)))
