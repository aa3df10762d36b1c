#!lua flags=allow-oom
-- Says that a server is there, and tells which are. KEYS: servers. ARGV: tag, server, state (empty: it leaves), timeout.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. string.format('%d', now))
end
local servers, live = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #servers, 2 do
  local state, seen = string.match(servers[i + 1], '^(%a+) (%d+)')
  if now - seen > tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[1], servers[i])
  else
    live[#live + 1] = {servers[i], state}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], 10 * ARGV[4]) end
return cmsgpack.pack({ARGV[1], now, 'ok', live})
