#!lua
-- Adds to a session's activities and gives them, newest first. KEYS: session, channels, operation. ARGV: tag, id, action, metadata (JSON), most.
local id, _, m = live(ARGV[2])
if not id then return answer('missing') end
local list = base .. 'a:' .. id
if answered(KEYS[4]) then return answer('ok', redis.call('LRANGE', list, 0, -1)) end
redis.call('LPUSH', list, '{"at":' .. string.format('%d', now) .. ',"action":' .. ARGV[3] .. ',"metadata":' .. ARGV[4] .. '}')
redis.call('LTRIM', list, 0, ARGV[5] - 1)
redis.call('PEXPIRE', list, DAY)
remember(KEYS[4], 'ok')
return answer('ok', redis.call('LRANGE', list, 0, -1))
