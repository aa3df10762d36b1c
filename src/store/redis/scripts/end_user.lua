#!lua flags=allow-oom
-- Ends a user's sessions but for one. KEYS: user, channels, operation. ARGV: tag, id to keep (or empty).
local done = answered(KEYS[4])
if done then
  local sessions, kin = unpack(cjson.decode(done))
  return answer('ok', sessions, kin)
end
local kept = ARGV[2] ~= '' and find(ARGV[2])
local sessions, kin, names = {}, {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if id ~= kept and redis.call('HEXISTS', base .. 's:' .. id, 'm') == 1 then
    sessions[#sessions + 1], names[#names + 1] = id, named(id)
  end
end
if #sessions == 0 then return answer('ok', {}, {}) end
-- A message names every id, a thousand at a time.
for first = 1, #sessions, 1000 do
  invalidate('e', 0, table.concat(names, ' ', first, math.min(first + 999, #names)))
end
for _, id in ipairs(sessions) do
  local key = base .. 's:' .. id
  for _, former in ipairs(finish(id, key, parse(redis.call('HGET', key, 'm')), 'user', 'revoked')) do
    kin[#kin + 1] = former
  end
end
remember(KEYS[4], cjson.encode({sessions, kin}))
return answer('ok', sessions, kin)
