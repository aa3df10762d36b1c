#!lua
-- Counts something of an application's up; the window of time begins with the first. KEYS: count. ARGV: tag, window (ms;
-- empty: forgets the count).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  return cmsgpack.pack({ARGV[1], now, 'ok', 0, 0})
end
local times = redis.call('GET', KEYS[1])
if times then
  redis.call('SET', KEYS[1], times + 1, 'KEEPTTL')
else
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])
end
return cmsgpack.pack({ARGV[1], now, 'ok', (times or 0) + 1, math.max(0, redis.call('PEXPIRETIME', KEYS[1]) - now)})
