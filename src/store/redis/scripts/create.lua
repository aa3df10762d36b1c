#!lua
-- Makes a session, and room for it. KEYS: session, channels, operation. ARGV: tag, id, user hash or -, class, idle,
-- absolute (durations in ms), data bytes, core (JSON object), server, authenticated (0/1), limit (0: none),
-- policy, then the data's fields and values.
local id, user, class, server = ARGV[2], ARGV[3] ~= '-' and ARGV[3] or nil, ARGV[4], ARGV[9]
local done = answered(KEYS[4])
if done then
  local fields = redis.call('HGETALL', KEYS[1])
  if #fields == 0 then return answer('missing') end
  local ended = {}
  for one in string.gmatch(done, '%S+') do ended[#ended + 1] = one end
  return answer('ok', fields, ended)
end
if is_taken(id) then return answer('taken') end

-- Which sessions end to make room.
local limit, policy, victims = tonumber(ARGV[11]), ARGV[12], {}
if user and limit > 0 then
  for _, one in ipairs(sessions_of(user)) do
    one.rank = policy == 'end_oldest' and one.m.created or one.m.last
    if now < one.m.expires then
      victims[#victims + 1] = one
    else
      -- Cleared away, lest a late touch make it one too many.
      expire(one.id, base .. 's:' .. one.id, one.m)
    end
  end
  local present = #victims
  if present < limit then
    victims = {}
  else
    if policy == 'refuse' then return answer('limit', limit) end
    table.sort(victims, function(a, b)
      if a.rank ~= b.rank then return a.rank < b.rank end
      return a.id < b.id
    end)
    for last = present, present - limit + 2, -1 do victims[last] = nil end
  end
end

local ended, names = {}, {}
for i, victim in ipairs(victims) do
  victim.c = core(base .. 's:' .. victim.id)
  ended[i], names[i] = victim.id, named(victim.id, victim.c)
end
if #names > 0 then invalidate('e', 0, table.concat(names, ' ')) end
for _, victim in ipairs(victims) do
  for _, kin in ipairs(finish(victim.id, base .. 's:' .. victim.id, victim.m, victim.c, 'limit', 'revoked')) do
    ended[#ended + 1] = kin
  end
end

local idle, bytes = tonumber(ARGV[5]), tonumber(ARGV[7])
local m = {
  id = id, v = 1, created = now, last = now, idle = idle, abs = now + ARGV[6], bytes = bytes, class = class,
  user = user, auth = ARGV[10] == '1' and now or nil,
}
m.expires = math.min(m.last + m.idle, m.abs)
redis.call('HSET', KEYS[1], 'c', ARGV[8])
for i = 13, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
write(KEYS[1], m)
index(id, KEYS[1], m)
count('s:' .. server, 1, m.expires)
count('c:' .. class, 1, m.expires)
remember(KEYS[4], table.concat(ended, ' '))
tell('created', id, m, cjson.decode(ARGV[8]), {version = 1})
return answer('ok', redis.call('HGETALL', KEYS[1]), ended)
