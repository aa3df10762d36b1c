#!lua flags=no-writes
-- Reads a session, through aliases. KEYS: session. ARGV: tag, id.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = ARGV[2]
local fields = redis.call('HGETALL', KEYS[1])
if #fields > 0 then return cmsgpack.pack({ARGV[1], now, 'found', id, fields}) end

local base = string.match(KEYS[1], '^.*{..}:')
local replayed = false
-- However many: an id that stood for nothing could not be logged out. There is no circle, for new ids are fresh.
while true do
  local alias = redis.call('GET', base .. 'r:' .. id)
  if not alias then break end
  local target, ends = string.match(alias, '^(%S+) (%d+)')
  replayed = replayed or (ends ~= '0' and now >= tonumber(ends))
  id = target
  fields = redis.call('HGETALL', base .. 's:' .. id)
  if #fields > 0 then
    if replayed then return cmsgpack.pack({ARGV[1], now, 'replayed', id}) end
    return cmsgpack.pack({ARGV[1], now, 'found', id, fields})
  end
end
return cmsgpack.pack({ARGV[1], now, 'missing'})
