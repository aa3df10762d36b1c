#!lua flags=allow-oom
-- Ends a session; writes nothing where there is none. KEYS: session, channels, operation. ARGV: tag, id, reason, kind of
-- event, version (empty: any).
local done = answered(KEYS[4])
if done then
  local sessions, kin = unpack(cjson.decode(done))
  return answer('ok', sessions, kin)
end
local id, key, m = find(ARGV[2])
if not id then return answer('ok', {}, {}) end
if now >= m.expires then
  -- It had ended already.
  expire(id, key, m)
  return answer('ok', {}, {})
end
if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= m.v then return answer('conflict', m.v) end
-- A session retired at a log-in leaves the ids before it alone: they may be those of one that goes on.
local c = core(key)
invalidate('e', m.v, ARGV[3] == 'login' and id or named(id, c))
local kin = finish(id, key, m, c, ARGV[3], ARGV[4])
remember(KEYS[4], cjson.encode({{id}, kin}))
return answer('ok', {id}, kin)
