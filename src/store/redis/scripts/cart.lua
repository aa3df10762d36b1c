#!lua
-- Adds a line to the cart. KEYS: session, channels, operation. ARGV: tag, id, most data bytes, product id, quantity,
-- most of one product.
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
local done = answered(KEYS[4])
if done then return answer('ok', done) end
if not fits(key, id, 0) then return answer('again') end

local function whole(value, most)
  return type(value) == 'number' and value >= 1 and value <= most and value == math.floor(value)
end

local product, quantity, most_of_one = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local old = redis.call('HGET', key, 'd:cart')
local lines = {}
if old then
  local valid, cart = pcall(cjson.decode, old)
  if not valid or type(cart) ~= 'table' or string.sub(old, 1, 1) ~= '[' then return answer('not_a_cart') end
  for _, line in ipairs(cart) do
    if type(line) ~= 'table' or type(line.product_id) ~= 'string' or not whole(line.quantity, most_of_one) then
      return answer('not_a_cart')
    end
    for name in pairs(line) do
      if name ~= 'product_id' and name ~= 'quantity' then return answer('not_a_cart') end
    end
    lines[#lines + 1] = line
  end
end

local known = false
for _, line in ipairs(lines) do
  if line.product_id == product then
    line.quantity, known = math.min(line.quantity + quantity, most_of_one), true
    break
  end
end
if not known then lines[#lines + 1] = {product_id = product, quantity = quantity} end
for i, line in ipairs(lines) do
  lines[i] = '{"product_id":' .. cjson.encode(line.product_id) .. ',"quantity":' ..
    string.format('%d', line.quantity) .. '}'
end
local text = '[' .. table.concat(lines, ',') .. ']'

local bytes, most = m.bytes + #text - (old and #old or -4), tonumber(ARGV[3])
if bytes > most and bytes > m.bytes then return answer('too_large', bytes, most) end
invalidate('c', m.v + 1, id)
remember(KEYS[4], text)
redis.call('HSET', key, 'd:cart', text)
m.v, m.bytes = m.v + 1, bytes
write(key, m)
tell('changed', id, m, core(key), {version = m.v})
return answer('ok', text)
