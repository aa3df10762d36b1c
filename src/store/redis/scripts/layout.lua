#!lua flags=allow-oom
-- Writes the layout record once and reads it. KEYS: meta. ARGV: tag, layout, buckets, bucket key.
redis.call('HSETNX', KEYS[1], 'layout', ARGV[2])
redis.call('HSETNX', KEYS[1], 'buckets', ARGV[3])
redis.call('HSETNX', KEYS[1], 'bucket_key', ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return cmsgpack.pack({ARGV[1], now, 'ok', redis.call('HMGET', KEYS[1], 'layout', 'buckets', 'bucket_key')})
