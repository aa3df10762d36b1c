#!lua
-- Gives the claim to compute an application's value back; holds the value, where there is one. KEYS: value, claim. ARGV:
-- tag, which names the claim; value, for how long (ms).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return cmsgpack.pack({ARGV[1], now, 'ok'})
