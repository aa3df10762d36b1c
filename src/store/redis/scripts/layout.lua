#!lua flags=allow-oom
-- Writes the layout record once and reads it. KEYS: meta. ARGV: tag, layout, buckets, bucket key.
redis.call('HSETNX', KEYS[1], 'layout', ARGV[2])
redis.call('HSETNX', KEYS[1], 'buckets', ARGV[3])
redis.call('HSETNX', KEYS[1], 'bucket_key', ARGV[4])
local time = redis.call('TIME')
return cmsgpack.pack({ARGV[1], time[1] * 1000, 'ok', redis.call('HMGET', KEYS[1], 'layout', 'buckets', 'bucket_key')})
