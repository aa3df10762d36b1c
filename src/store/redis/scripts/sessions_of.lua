#!lua flags=no-writes
-- A user's live sessions. KEYS: user, channel of invalidations. ARGV: tag.
local base = string.match(KEYS[1], '^.*{..}:')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sessions = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%d', now), '+inf')) do
  local fields = redis.call('HGETALL', base .. 's:' .. id)
  if #fields > 0 then sessions[#sessions + 1] = {id, fields} end
end
return cmsgpack.pack({ARGV[1], now, 'ok', sessions})
