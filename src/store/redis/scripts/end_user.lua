#!lua flags=allow-oom
-- Ends a user's sessions but for one. KEYS: user, channels, operation. ARGV: tag, id to keep (or empty).
local done = answered(KEYS[4])
if done then
  local sessions, kin = unpack(cjson.decode(done))
  return answer('ok', sessions, kin)
end
local kept = ARGV[2] ~= '' and find(ARGV[2])
local ids, names, sessions, kin = {}, {}, {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if id ~= kept and redis.call('HEXISTS', base .. 's:' .. id, 'm') == 1 then
    ids[#ids + 1], names[#names + 1] = id, named(id)
  end
end
if #ids == 0 then return answer('ok', {}, {}) end
-- A message names every id, a thousand at a time.
for first = 1, #names, 1000 do
  invalidate('e', 0, table.concat(names, ' ', first, math.min(first + 999, #names)))
end
for _, id in ipairs(ids) do
  local key = base .. 's:' .. id
  local m = parse(redis.call('HGET', key, 'm'))
  -- One that has expired had ended already.
  if now >= m.expires then
    expire(id, key, m)
  else
    sessions[#sessions + 1] = id
    for _, former in ipairs(finish(id, key, m, 'user', 'revoked')) do kin[#kin + 1] = former end
  end
end
remember(KEYS[4], cjson.encode({sessions, kin}))
return answer('ok', sessions, kin)
