#!lua
-- Keeps an application's value in another form, or under another key, for what is left of its time. KEYS: value, claim.
-- ARGV: tag; the value as it was, and as it is to be kept.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL') end
return cmsgpack.pack({ARGV[1], now, 'ok'})
