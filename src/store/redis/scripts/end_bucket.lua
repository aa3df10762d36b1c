#!lua flags=allow-oom
-- Ends sessions of a bucket. KEYS: counts, channels, operation. ARGV: tag, made at or before (ms; 0: now), limit.
local done = answered(KEYS[4])
if done then return answer('ok', unpack(cjson.decode(done))) end
local before, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
if before == 0 then before = now end
local ids, sessions, kin = {}, {}, {}
for _, class in ipairs(classes()) do
  for _, id in ipairs(redis.call('ZRANGE', base .. 'x:' .. class, 0, -1)) do ids[#ids + 1] = id end
end
table.sort(ids)
local more = false
for _, id in ipairs(ids) do
  local text = redis.call('HGET', base .. 's:' .. id, 'm')
  if text then
    local m = parse(text)
    if m.created <= before and now < m.expires then
      if #sessions == limit then
        more = true
        break
      end
      sessions[#sessions + 1] = {id, m}
    end
  end
end
if #sessions == 0 then return answer('ok', {}, {}, false) end
local names = {}
for i, session in ipairs(sessions) do
  session[3] = core(base .. 's:' .. session[1])
  names[i] = named(session[1], session[3])
end
invalidate('e', 0, table.concat(names, ' '))
for i, session in ipairs(sessions) do
  local id, m, c = unpack(session)
  sessions[i] = id
  for _, former in ipairs(finish(id, base .. 's:' .. id, m, c, 'all', 'revoked')) do kin[#kin + 1] = former end
end
remember(KEYS[4], cjson.encode({sessions, kin, more}))
return answer('ok', sessions, kin, more)
