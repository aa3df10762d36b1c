#!lua flags=no-writes
-- A bucket's live sessions in the order of their ids. KEYS: counts, channels. ARGV: tag, after (id or empty), limit,
-- class (empty: any), server (empty: any).
local after, limit, class, server = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local ids, sessions = {}, {}
for _, name in ipairs(classes()) do
  if class == '' or class == name then
    local live_ids = redis.call('ZRANGEBYSCORE', base .. 'x:' .. name, '(' .. string.format('%d', now), '+inf')
    for _, id in ipairs(live_ids) do
      if id > after then ids[#ids + 1] = id end
    end
  end
end
table.sort(ids)
for _, id in ipairs(ids) do
  if #sessions == limit then break end
  local key = base .. 's:' .. id
  local fields = redis.call('HGETALL', key)
  if #fields > 0 and (server == '' or core(key).server_id == server) then sessions[#sessions + 1] = {id, fields} end
end
return answer('ok', sessions)
