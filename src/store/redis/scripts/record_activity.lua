#!lua
-- Adds to a session's activities. KEYS: session, channels, operation. ARGV: tag, id, action, metadata (JSON), most.
local id, _, m = live(ARGV[2])
if not id then return answer('missing') end
if answered(KEYS[4]) then return answer('ok') end
local list = base .. 'a:' .. id
redis.call('LPUSH', list, '{"at":' .. string.format('%d', now) .. ',"action":' .. ARGV[3] .. ',"metadata":' .. ARGV[4] .. '}')
redis.call('LTRIM', list, 0, ARGV[5] - 1)
redis.call('PEXPIRE', list, DAY)
remember(KEYS[4], 'ok')
return answer('ok')
