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

// What is marked is copied; over plain http there is no navigator.clipboard.
export const copyMarked = () => document.execCommand('copy');

const PATIENCE = 5_000;

export const ask = (url, options) =>
	fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE), ...options });

// Behind a proxy, one origin may have several rooms, so keys have the path. Where storage is
// forbidden or full, things are kept for as long as the page is there, and `set` gives false.
function area(name) {
	const kept = new Map();
	const attempt = (action) => {
		try {
			return action(window[name]);
		} catch {}
	};
	return {
		get: (key) => kept.get(key) ?? attempt((storage) => storage.getItem(location.pathname + key)),
		set(key, value) {
			kept.set(key, value);
			const isKept = attempt((storage) => {
				storage.setItem(location.pathname + key, value);
				return storage.getItem(location.pathname + key) === String(value);
			});
			if (isKept) kept.delete(key);
			return Boolean(isKept);
		},
	};
}

export const tab = area('sessionStorage');
export const device = area('localStorage');

export const wants = (wish) => device.get(wish) === 'yes';

// Every text of the page. A test checks that none is missing.
const rows = `
client | Client #{} | 訪客 #{}
you | You | 你
left | Client #{} left the chat | 訪客 #{} 離開了聊天室
gap | Not connected from {} to {}: messages may be missing | {} 到 {} 未連線，這段時間的訊息可能有缺
blank | (blank) | （空白）
empty | You see what is said from now on. Whoever opens this page sees what you write. | 你會看到從現在起的訊息。開啟這個網頁的人都看得到你寫的訊息。
toEnd | Newest | 最新訊息
newMessages | {} new | {} 則新訊息
log | Messages | 訊息
placeholder | Write a message | 輸入訊息
send | Send | 送出
tooMany | {} bytes too many | 超過 {} 位元組
tooLong | Too long to send: a message can have {} bytes. | 太長：一則訊息最多 {} 位元組。
notConnected | Not connected. Your text stays here. | 尚未連線，文字會留在這裡。
unsent | Perhaps not sent | 可能未送出
sending | Sending… | 傳送中…
sendAgain | Send again | 重新送出
discard | Discard | 捨棄
connecting | Connecting… | 連線中…
connected | Connected | 已連線
lost | Connection lost | 連線中斷
refused | Refused: {} | 伺服器拒絕連線：{}
refusedUnsaid | full, or this address is not allowed | 已滿，或不允許這個位址
closed | Closed by the server: {} | 伺服器已關閉連線：{}
nextTry | Next try in {} s | {} 秒後重試
trying | Trying… | 重試中…
tryNow | Try now | 立即重試
settings | Settings | 設定
number | Your number, as others see it | 你的號碼（別人看得到）
numberWrong | Write a whole number in digits, such as 42, with at most 18 of them. | 請用數字寫一個整數，例如 42，最多 18 位數。
sound | Sound for new messages while I am elsewhere | 不在網頁時以聲音提示新訊息
notify | Notifications while this tab is hidden | 分頁隱藏時顯示通知
notifyInsecure | Browsers allow notifications only over https or on localhost. | 瀏覽器只在 https 或 localhost 允許通知。
notifyDenied | This browser does not let this page notify. | 這個瀏覽器不讓這個網頁發出通知。
notKept | This browser keeps no settings for this page: they hold until you close it. | 這個瀏覽器不替網頁儲存設定，關閉網頁後就會消失。
invite | Invite | 邀請
copy | Copy | 複製
copied | Copied | 已複製
close | Close | 關閉
onlyHere | Only this computer can open the page. For others: roomd {} | 只有這台電腦能開啟這個網頁。要讓別人進來：roomd {}
noNetwork | No network | 沒有網路
toEcho | Test the connection | 測試連線
save | Save | 儲存
toRoom | To the room | 回聊天室
echoTitle | roomd: connection test | roomd：連線測試
echoEmpty | What you write comes straight back. Nobody else sees it. | 你寫的訊息會立即傳回，別人看不到。
last | Last | 最近
median | Median | 中位數
worst | Worst | 最久
unanswered | Unanswered | 未回應
ms | {} ms | {} 毫秒
scale | 0 to {} ms, the last 120 messages | 0 到 {} 毫秒，最近 120 則
cameBack | Came back after {} | {}後傳回
`.trim().split('\n').map((row) => row.split(' | '));
export const table = Object.fromEntries(rows.map(([key, ...texts]) => [key, texts]));

// Who reads Simplified Chinese reads Traditional rather than English.
const spoken = navigator.languages?.find((tag) => /^(en|zh)\b/i.test(tag)) ?? 'en';
const column = /^zh/i.test(spoken) ? 1 : 0;
export const language = ['en', 'zh-Hant'][column];

export const say = (key, ...values) => table[key][column].replace(/{}/g, () => values.shift());

// English differs in its clocks and dates. Some systems call it "en-US@posix".
const locale = column || !isLocale(spoken) ? language : spoken;
export const asTime = new Intl.DateTimeFormat(locale, { timeStyle: 'short' }).format;
export const asDay = new Intl.DateTimeFormat(locale, { dateStyle: 'full' }).format;
export const asNumber = new Intl.NumberFormat(locale).format;

function isLocale(tag) {
	try {
		return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
	} catch {}
}
