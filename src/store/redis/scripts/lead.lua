#!lua flags=allow-oom
-- Takes, renews or gives back the leader's lease, and tells who holds it. KEYS: leader. ARGV: tag, server, ttl (ms; 0:
-- give back).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = redis.call('GET', KEYS[1])
if ARGV[3] == '0' then
  if holder == ARGV[2] then redis.call('DEL', KEYS[1]) end
  holder = false
elseif not holder or holder == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  holder = ARGV[2]
end
return cmsgpack.pack({ARGV[1], now, 'ok', holder or ''})
