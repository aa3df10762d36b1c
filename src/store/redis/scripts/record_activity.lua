#!lua
-- Adds to a session's activities and gives them, newest first, with what opens them. KEYS: session, channels, operation.
-- ARGV: tag, id, members (of a JSON object), most.
local id, key = live(ARGV[2])
if not id then return answer('missing') end
local list = base .. 'a:' .. id
if not answered(KEYS[4]) then
  redis.call('LPUSH', list, '{"at":' .. string.format('%d', now) .. ',' .. ARGV[3] .. '}')
  redis.call('LTRIM', list, 0, ARGV[4] - 1)
  redis.call('PEXPIRE', list, DAY)
  remember(KEYS[4], 'ok')
end
return answer('ok', redis.call('LRANGE', list, 0, -1), id, redis.call('HGET', key, 'c'),
  redis.call('HGET', key, 's') or '')
