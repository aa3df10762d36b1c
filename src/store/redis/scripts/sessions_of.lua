#!lua flags=no-writes
-- A user's live sessions. KEYS: users' sessions, channels. ARGV: tag, hash of the user.
local sessions = {}
for _, one in ipairs(sessions_of(ARGV[2])) do
  if now < one.m.expires then sessions[#sessions + 1] = {one.id, redis.call('HGETALL', base .. 's:' .. one.id)} end
end
return answer('ok', sessions)
