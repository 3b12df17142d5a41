// What all the others use: elements, storage, and the texts in each language.

export const find = (id) => document.getElementById(id);

// Nothing twice: whatever is set is spoken where it is live.
export function show(id, text) {
	if (find(id).textContent !== String(text)) find(id).textContent = text;
}

export function make(name, properties, ...children) {
	const element = Object.assign(document.createElement(name), properties);
	element.append(...children);
	return element;
}

export const isTouch = () => matchMedia('(pointer: coarse)').matches;

// Over plain http there is no navigator.clipboard.
export const copyMarked = () => document.execCommand('copy');

const PATIENCE = 5_000;

export const ask = (url, options) =>
	fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE), ...options });

// Of an answer of one a line; none if there was no answer.
export const objects = async (answer) =>
	answer.ok ? (await answer.text()).split('\n').filter(Boolean).map((line) => JSON.parse(line)) : [];

// One origin may have several servers and rooms, so keys have a path. Where storage is forbidden or
// full, things are kept while the page is there, and `set` gives false.
function area(name, path) {
	const kept = new Map();
	const attempt = (action) => {
		try {
			return action(window[name]);
		} catch {}
	};
	return {
		get: (key) => kept.get(key) ?? attempt((storage) => storage.getItem(path + key)),
		set(key, value) {
			kept.set(key, value);
			attempt((storage) => {
				storage.setItem(path + key, value);
				kept.delete(key);
			});
			return !kept.has(key);
		},
	};
}

const { pathname } = location;
// The room's, and the server's.
export const tab = area('sessionStorage', pathname);
export const device = area('localStorage', pathname.replace(/[^/]*$/, ''));

// Every text of the page but the echo's. A test checks that none is missing.
export const table = {};
learn(`
you | You | 你
joined | {} joined | {} 加入了
left | {} left | {} 離開了
others | {} others | 其他 {} 人
renamed | {} is now {} | {} 改名為 {}
missed | Messages missed: {} | 錯過的訊息：{} 則
gap | Messages may be missing | 訊息可能有缺
unread | New | 未讀
earlier | Earlier messages | 較早的訊息
blank | (blank) | （空白）
empty | Nothing has been said yet. Whoever opens this page sees what you write. | 還沒有人說話。開啟這個網頁的人都看得到你寫的訊息。
here | {} here | {} 人在此
people | Who is here | 誰在這裡
tags | Show tags | 顯示識別碼
toEnd | Newest | 最新訊息
newMessages | {} new | {} 則新訊息
log | Messages | 訊息
placeholder | Write a message | 輸入訊息
send | Send | 送出
tooMany | {} bytes too many | 超過 {} 位元組
tooLong | Too long to send: a message can have {} bytes. | 太長：一則訊息最多 {} 位元組。
notConnected | Not connected. Your text stays here. | 尚未連線，文字會留在這裡。
unsent | Possibly not sent | 可能未送出
sending | Sending… | 傳送中…
held | Waiting for slow readers… | 等候較慢的讀者…
sendAgain | Send again | 重新送出
discard | Discard | 捨棄
connecting | Connecting… | 連線中…
connected | Connected | 已連線
away | The room cannot be reached. Messages wait. | 暫時連不到聊天室，訊息會等候。
lost | Connection lost | 連線中斷
refused | Refused: {} | 伺服器拒絕連線：{}
refusedUnsaid | full, or this address is not allowed | 已滿，或不允許這個位址
closed | Closed by the server: {} | 伺服器已關閉連線：{}
nextTry | Next try in {} s | {} 秒後重試
tryNow | Try now | 立即重試
settings | Settings | 設定
name | Your name, as others see it | 你的名字（別人看得到）
later | Later | 稍後
taken | {} is taken. Here you are {}. | {} 已有人使用，你在這裡是 {}。
nameRefused | This name cannot be used: {} | 無法使用這個名字：{}
rooms | Rooms | 聊天室
roomName | Open or create a room | 開啟或建立聊天室
open | Open | 開啟
sound | Sound for new messages while I am elsewhere | 不在網頁時以聲音提示新訊息
notify | Notifications while this tab is hidden | 分頁隱藏時顯示通知
notifyInsecure | Browsers allow notifications only over https or on localhost. | 瀏覽器只在 https 或 localhost 允許通知。
notifyDenied | This browser does not let this page notify. | 這個瀏覽器不讓這個網頁發出通知。
notKept | This browser keeps no settings: they hold until you close the page. | 這個瀏覽器不儲存設定，關閉網頁後就會消失。
invite | Invite | 邀請
copy | Copy | 複製
copied | Copied | 已複製
close | Close | 關閉
onlyHere | Only this computer can open the page. For others: roomd {} | 只有這台電腦能開啟這個網頁。要讓別人進來：roomd {}
noNetwork | No network | 沒有網路
toEcho | Test the connection | 測試連線
save | Save | 儲存
`);

export function learn(rows) {
	for (const [key, ...texts] of rows.trim().split('\n').map((row) => row.split(' | '))) table[key] = texts;
}

// Who reads Simplified Chinese reads Traditional rather than English. Some systems say "en-US@posix".
const isSpoken = (tag) => /^(en|zh)(-[a-z]{2})?\b/i.exec(tag)?.[0];
const spoken = (navigator.languages ?? []).map(isSpoken).find(Boolean) ?? 'en';
const column = /^zh/i.test(spoken) ? 1 : 0;
export const language = ['en', 'zh-Hant'][column];

export const say = (key, ...values) => table[key][column].replace(/{}/g, () => values.shift());

// English differs in its clocks and dates.
const locale = column ? language : spoken;
export const asTime = new Intl.DateTimeFormat(locale, { timeStyle: 'short' }).format;
export const asDay = new Intl.DateTimeFormat(locale, { dateStyle: 'full' }).format;
export const asNumber = new Intl.NumberFormat(locale).format;
const lists = new Intl.ListFormat(locale);
export const asList = (names) => lists.format(names);

// A name that turns the writing around turns nothing else.
export const isolated = (name) => `\u2068${name}\u2069`;
