#!lua flags=allow-oom
-- Ends a user's sessions but for one. KEYS: users' sessions, channels, operation. ARGV: tag, hash of the user, id to keep
-- (or empty).
local done = answered(KEYS[4])
if done then
  local sessions, kin = unpack(cjson.decode(done))
  return answer('ok', sessions, kin)
end
local kept = ARGV[3] ~= '' and find(ARGV[3])
local found, names, sessions, kin = {}, {}, {}, {}
for _, one in ipairs(sessions_of(ARGV[2])) do
  if one.id ~= kept then
    one.c = core(base .. 's:' .. one.id)
    found[#found + 1], names[#names + 1] = one, named(one.id, one.c)
  end
end
if #found == 0 then return answer('ok', {}, {}) end
-- A message names every id, a thousand at a time.
for first = 1, #names, 1000 do
  invalidate('e', 0, table.concat(names, ' ', first, math.min(first + 999, #names)))
end
for _, one in ipairs(found) do
  local id, key, m = one.id, base .. 's:' .. one.id, one.m
  -- One that has expired had ended already.
  if now >= m.expires then
    expire(id, key, m)
  else
    sessions[#sessions + 1] = id
    for _, former in ipairs(finish(id, key, m, one.c, 'user', 'revoked')) do kin[#kin + 1] = former end
  end
end
remember(KEYS[4], cjson.encode({sessions, kin}))
return answer('ok', sessions, kin)
