#!lua flags=no-writes
-- Where an alias leads, and whether its grace is over. KEYS: alias. ARGV: tag.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alias = redis.call('GET', KEYS[1])
if not alias then return cmsgpack.pack({ARGV[1], now, 'missing'}) end
local target, ends = string.match(alias, '^(%S+) (%d+)$')
return cmsgpack.pack({ARGV[1], now, 'ok', target, ends ~= '0' and now >= tonumber(ends)})
