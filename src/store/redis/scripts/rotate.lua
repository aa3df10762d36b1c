#!lua
-- Gives a session a new id. KEYS: session, channels, operation, new session. ARGV: tag, id, new id, login (0/1), class
-- (empty: stays), idle, absolute (durations in ms), authenticated (0/1), roles,
-- permissions (JSON lists, empty: stay), keep (0: all data, 1: the data fields named at the end), seal, version (empty:
-- any), how many fields are sealed anew, those fields and values, the data fields kept.
local done = answered(KEYS[4])
if done then
  local fields = redis.call('HGETALL', KEYS[5])
  if #fields == 0 then return answer('missing') end
  return answer('ok', ARGV[3], fields)
end
local old, key, m = live(ARGV[2])
if not old then return answer('missing') end
local new, login = ARGV[3], ARGV[4] == '1'
local seal, sealed = tonumber(ARGV[12]), tonumber(ARGV[14])
-- What is sealed is sealed for an id: it must be known to be sealed for another one.
if not fits(key, old, seal) or (ARGV[13] ~= '' and tonumber(ARGV[13]) ~= m.v) then return answer('again') end
if is_taken(new) then return answer('taken') end

invalidate('r', m.v + 1, old)
remember(KEYS[4], new)
unindex(old, m)
redis.call('RENAME', key, KEYS[5])
if redis.call('EXISTS', base .. 'a:' .. old) == 1 then
  redis.call('RENAME', base .. 'a:' .. old, base .. 'a:' .. new)
end
key = KEYS[5]

if ARGV[11] == '1' then
  local kept = {}
  for i = 15 + 2 * sealed, #ARGV do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'd:' and not kept[field] then
      m.bytes = m.bytes - (redis.call('HSTRLEN', key, field) - seal) - (#field - 2)
      redis.call('HDEL', key, field)
    end
  end
end

for i = 15, 14 + 2 * sealed, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end

local c = core(key)
m.id = new
local kin = {old}
for _, former in ipairs(c.kin or {}) do
  if #kin < KIN then kin[#kin + 1] = former end
end
c.kin = kin
for i, list in ipairs({'roles', 'permissions'}) do
  if ARGV[8 + i] ~= '' then
    local values = cjson.decode(ARGV[8 + i])
    c[list] = #values > 0 and values or nil
  end
end
if ARGV[8] == '1' and m.user then m.auth = now end
redis.call('HSET', key, 'c', cjson.encode(c))

m.v = m.v + 1
if ARGV[5] ~= '' and ARGV[5] ~= m.class then
  count('c:' .. m.class, -1)
  count('c:' .. ARGV[5], 1, now + ARGV[7])
  m.class = ARGV[5]
end
if login or ARGV[5] ~= '' then
  -- A log-in that names no class starts the present one's deadlines anew.
  local absolute = m.abs - m.created
  if ARGV[5] ~= '' then m.idle, absolute = tonumber(ARGV[6]), tonumber(ARGV[7]) end
  m.last, m.abs = now, now + absolute
  m.expires = math.min(m.last + m.idle, m.abs)
end
if login then
  m.created = now
  redis.call('HDEL', key, 'p')
else
  redis.call('HSET', key, 'p', old)
  redis.call('SET', base .. 'r:' .. old, new .. ' 0', 'PXAT', m.abs + GRACE)
end
write(key, m)
index(new, key, m)
tell('rotated', new, m, c, {version = m.v, previous_id = old})
return answer('ok', new, redis.call('HGETALL', key))
