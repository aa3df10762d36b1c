#!lua flags=allow-oom
-- Ends a session; writes nothing where there is none. KEYS: session, channels. ARGV: tag, id, reason, kind of event,
-- version (empty: any).
local id, key, m = find(ARGV[2])
if not id then return answer('ok', {}, {}) end
if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= m.v then return answer('conflict', m.v) end
-- A session retired at a log-in leaves the ids before it alone: they may be those of one that goes on.
invalidate('e', m.v, ARGV[3] == 'login' and id or named(id))
local kin
if now < m.expires then
  kin = finish(id, key, m, ARGV[3], ARGV[4])
else
  kin = finish(id, key, m, 'expired', 'expired')
end
return answer('ok', {id}, kin)
