#!lua
-- An application's value; where there is none, the claim to compute it. KEYS: value, claim. ARGV: tag, which names the
-- claim; for how long it is held (ms).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local value = redis.call('GET', KEYS[1])
if value then return cmsgpack.pack({ARGV[1], now, 'found', value}) end
local holder = redis.call('GET', KEYS[2])
-- Sent twice, it is still its own claim.
if holder and holder ~= ARGV[1] then return cmsgpack.pack({ARGV[1], now, 'awaited'}) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return cmsgpack.pack({ARGV[1], now, 'claimed'})
