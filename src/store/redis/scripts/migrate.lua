#!lua
-- Homes a session at another server. KEYS: session, channels. ARGV: tag, id, server.
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
local c = core(key)
if c.server_id ~= ARGV[3] then move(id, key, m, c, ARGV[3]) end
return answer('ok', id, redis.call('HGETALL', key))
