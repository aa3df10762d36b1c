#!lua
-- Keeps a session's content in another form, or under another key; what readers see stays the same. KEYS: session,
-- channels. ARGV: tag, id, version, then the fields, each with its old value (empty: none) and its new one (empty: none).
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
-- Versions fork at a failover: so the values must be the same too, and there must be no others.
local others = #redis.call('HKEYS', key) - redis.call('HEXISTS', key, 'm') - redis.call('HEXISTS', key, 'p')
for i = 4, #ARGV, 3 do
  if (redis.call('HGET', key, ARGV[i]) or '') ~= ARGV[i + 1] then return answer('again') end
  if ARGV[i + 1] ~= '' then others = others - 1 end
end
if id ~= ARGV[2] or m.v ~= tonumber(ARGV[3]) or others > 0 then return answer('again') end
for i = 4, #ARGV, 3 do
  if ARGV[i + 2] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 2]) end
end
return answer('ok')
